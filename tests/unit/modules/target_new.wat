(module
  (func (export "b") (param i32) (result i32) (local.get 0))
  (func (export "a") (param i64) (result i64) (local.get 0)))
