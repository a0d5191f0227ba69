//! What is written, read back by the same messages. That runtimes compute the same with it is checked from Python.
