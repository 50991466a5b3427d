//! What the operator knows of addresses: lists of networks, and databases that say whose network
//! an address is of and in which country.
//!
//! Promise: what is read here is bounded, and sound before anything is asked of it; it never
//! changes afterwards, so that functions over it stay immutable. Never: a file is opened here.

mod database;
mod list;
mod supplied;

pub use self::database::{Database, Origin};
pub use self::list::{AddressList, Wrong};
pub use self::supplied::{Addresses, Kind, is_list_name};
