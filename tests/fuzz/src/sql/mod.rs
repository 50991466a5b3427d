//! Of the program's SQL, what front matter may name.

pub mod address;
