(module (memory 1) (data (i32.const 16) "near") (data (i32.const 5000) "far away"))
