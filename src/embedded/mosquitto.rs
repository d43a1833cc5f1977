//! A private Mosquitto.
