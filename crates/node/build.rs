//! Linker flags for a napi module.

fn main() {
    napi_build::setup();
}
