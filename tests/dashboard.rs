//! The web page for people: as browsers get it, and what people do with it in a real one.

mod console;
mod devices;
mod proof;
mod served;
