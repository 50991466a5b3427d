//! What may be supplied about addresses, by name; here nothing is.

#[path = "../../../../src/sql/address/supplied.rs"]
mod supplied;

pub use supplied::{Addresses, Kind, is_list_name};

/// A list of addresses, of which there is none.
#[derive(Debug)]
pub struct AddressList;

impl AddressList {
    /// How many networks it has.
    pub fn len(&self) -> usize {
        0
    }
}

/// A database of addresses, of which there is none.
#[derive(Debug)]
pub struct Database;
