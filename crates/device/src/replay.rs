//! A device that computes nothing and takes scripted times: for tests of the logic above.
