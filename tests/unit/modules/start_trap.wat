(module (start $s) (func $s unreachable) (func (export "run")))
