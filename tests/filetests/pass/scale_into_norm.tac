; test: pass scale_into_norm
; Scale, then bias; a factor for each row is neither.
graph g {
  %x: f32[2,4] = input
  %s: f32[4] = input
  %b: f32[4] = input
  %f: f32[2,1] = input
  %n: f32[2,4] = layer_norm(%x) axis=1 epsilon=0.001
  %p: f32[2,4] = pointwise(%s, %n) {mul($0, $1)}
  %y: f32[2,4] = pointwise(%p, %b) {add($0, $1)}
  %m: f32[2,4] = rms_norm(%x) axis=1 epsilon=0.001
  %z: f32[2,4] = pointwise(%m, %f) {mul($0, $1)}
  output "y" %y
  output "z" %z
}
; expect:
graph g {
  %x: f32[2,4] = input "x"
  %s: f32[4] = input "s"
  %b: f32[4] = input "b"
  %f: f32[2,1] = input "f"
  %y: f32[2,4] = layer_norm(%x, %s, %b) axis=1 epsilon=0.001
  %m: f32[2,4] = rms_norm(%x) axis=1 epsilon=0.001
  %z: f32[2,4] = pointwise(%m, %f) {mul($0, $1)}
  output "y" %y
  output "z" %z
}
