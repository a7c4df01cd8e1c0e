//! The C half of the target `calls`.

fn main() {
    println!("cargo:rerun-if-changed=calls.c");
    println!("cargo:rerun-if-changed=../bindings/c/tests/suite/random.c");
    println!("cargo:rerun-if-changed=../include/kv.h");
    cc::Build::new().file("calls.c").include("../include").include("../bindings/c/tests/suite").compile("calls");
}
