;; Every number type in and out, several results, and more parameters than registers.
(module
  (func (export "add_i32") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "add_i64") (param i64 i64) (result i64) local.get 0 local.get 1 i64.add)
  (func (export "add_f32") (param f32 f32) (result f32) local.get 0 local.get 1 f32.add)
  (func (export "add_f64") (param f64 f64) (result f64) local.get 0 local.get 1 f64.add)
  (func (export "bits_f32") (param f32) (result i32) local.get 0 i32.reinterpret_f32)
  (func (export "bits_f64") (param f64) (result i64) local.get 0 i64.reinterpret_f64)
  (func (export "rotate") (param i32 i64 f32 f64) (result f64 i32 i64 f32)
    local.get 3 local.get 0 local.get 1 local.get 2)
  (func (export "nothing"))
  (func (export "sum16") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i64)
    local.get 0 local.get 1 i32.add local.get 2 i32.add local.get 3 i32.add local.get 4 i32.add
    local.get 5 i32.add local.get 6 i32.add local.get 7 i32.add local.get 8 i32.add local.get 9 i32.add
    local.get 10 i32.add local.get 11 i32.add local.get 12 i32.add local.get 13 i32.add local.get 14 i32.add
    i64.extend_i32_s local.get 15 i64.add)
  (func $fib (export "fib") (param i32) (result i32)
    local.get 0 i32.const 2 i32.lt_u
    if (result i32) local.get 0
    else local.get 0 i32.const 1 i32.sub call $fib local.get 0 i32.const 2 i32.sub call $fib i32.add end)
  (func (export "extend8") (param i32) (result i32) local.get 0 i32.extend8_s)
  (func (export "saturate") (param f64) (result i32) local.get 0 i32.trunc_sat_f64_s)
  (global $count (mut i32) (i32.const 40))
  (func (export "count") (result i32) global.get $count i32.const 1 i32.add global.set $count global.get $count))
