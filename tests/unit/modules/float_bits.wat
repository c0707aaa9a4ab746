;; What must keep every bit of a float, also of a signalling NaN, on its way through memory, locals, globals and signs;
;; and what must make a quiet NaN of it.
(module
  (memory 1)
  (global $global (mut f32) (f32.const 0))
  (func $load (param i32) (result f32) i32.const 8 local.get 0 i32.store i32.const 8 f32.load)
  (func (export "copy") (param i32) (result i32)
    i32.const 4 local.get 0 i32.store
    i32.const 16 i32.const 4 f32.load f32.store
    i32.const 16 i32.load)
  (func (export "copy_to") (param i32 i32) (result i32)
    local.get 1 local.get 0 f32.reinterpret_i32 f32.neg f32.neg f32.store offset=4
    local.get 1 i32.load offset=4)
  (func (export "local") (param i32) (result i32) (local f32)
    local.get 0 call $load f32.neg local.set 1
    local.get 1 f32.neg local.tee 1 i32.reinterpret_f32)
  (func (export "global") (param i32) (result i32)
    local.get 0 f32.reinterpret_i32 f32.abs global.set $global
    global.get $global i32.reinterpret_f32)
  (func (export "select") (param i32 i32) (result f32) (local f32)
    local.get 0 f32.reinterpret_i32 f32.abs f32.const 1 local.get 1 select)
  (func (export "select_other") (param i32 i32) (result f32) (local f32)
    f32.const 1 local.get 0 f32.reinterpret_i32 f32.abs local.get 1 i32.eqz select)
  (func (export "abs") (param f32) (result f32) local.get 0 f32.abs)
  (func (export "neg") (param f32) (result f32) local.get 0 f32.neg)
  (func (export "sign") (param f32 f32) (result f32) local.get 0 f32.neg local.get 1 f32.copysign)
  (func (export "sign_of") (param f32 f32) (result f32) local.get 0 local.get 1 f32.neg f32.copysign)
  (func (export "sign_both") (param f32 f32) (result f32) local.get 0 local.get 1 f32.copysign)
  (func (export "add_32") (param i32) (result f32) local.get 0 f32.reinterpret_i32 f32.const 1 f32.add)
  (func (export "ceil") (param f64) (result f64) local.get 0 f64.ceil)
  (func (export "floor") (param f64) (result f64) local.get 0 f64.neg f64.floor)
  (func (export "trunc") (param f64) (result f64) local.get 0 f64.trunc)
  (func (export "nearest") (param f64) (result f64) local.get 0 f64.nearest))
