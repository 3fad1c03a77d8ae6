//! Only tests: see `tests/`, and `tests/xrt/run_fake.sh`, which runs them.
