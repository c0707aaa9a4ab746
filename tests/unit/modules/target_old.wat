(module
  (func (export "a")))
