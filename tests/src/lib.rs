//! Runs the contract table: the same cases through every surface, on every
//! backend. `contract/README.md` is the table's own language; a surface is a
//! program that answers one line for each line (`driver`).

pub mod backends;
pub mod beancounter;
pub mod board;
pub mod charger;
pub mod container;
pub mod driver;
pub mod numtasks;
pub mod other;
pub mod part;
pub mod raw;
pub mod registered;
pub mod run;
pub mod stage;
pub mod stream;
pub mod table;
