//! Sends commands to devices, and gives them up in time.
