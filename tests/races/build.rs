fn main() {
    println!("cargo:rustc-check-cfg=cfg(loom)");
    println!("cargo:rustc-check-cfg=cfg(kv_shuttle)");
    println!("cargo:rustc-check-cfg=cfg(feature, values(\"redis\"))");
    println!("cargo:rustc-cfg=loom");
}
