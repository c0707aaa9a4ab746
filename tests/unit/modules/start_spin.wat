(module (start $s) (func $s loop br 0 end) (func (export "run")))
