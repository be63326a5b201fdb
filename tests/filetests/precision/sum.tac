; test: precision bf16
; What grows with the number of elements stays f32, with what only it reads; integers are not touched.
graph g {
  %x: f32[4,64] = input "x"
  %i: i64[4,1] = input "i"
  %square: f32[4,64] = pointwise(%x) {mul($0, $0)}
  %sum: f32[4,1] = reduce(%square) sum axes=[1] keep_dims
  %root: f32[4,1] = pointwise(%sum) {sqrt(add($0, 1e-12:f32))}
  %y: f32[4,64] = pointwise(%x, %root) {div($0, $1)}
  %j: i64[4,1] = pointwise(%i) {add($0, 1:i64)}
  %at: f32[4,1] = pointwise(%i) {cast($0, f32)}
  %z: f32[4,64] = pointwise(%y, %at) {mul($0, $1)}
  output "z" %z
  output "j" %j
}
; expect:
graph g {
  %x: f32[4,64] = input "x"
  %i: i64[4,1] = input "i"
  %square: f32[4,64] = pointwise(%x) {mul($0, $0)}
  %sum: f32[4,1] = reduce(%square) sum axes=[1] keep_dims
  %root: f32[4,1] = pointwise(%sum) {sqrt(add($0, 1e-12:f32))}
  %x_as_bf16: bf16[4,64] = pointwise(%x) {cast($0, bf16)} "x as bf16"
  %root_as_bf16: bf16[4,1] = pointwise(%root) {cast($0, bf16)} "root as bf16"
  %y: bf16[4,64] = pointwise(%x_as_bf16, %root_as_bf16) {div($0, $1)}
  %j: i64[4,1] = pointwise(%i) {add($0, 1:i64)}
  %at: f32[4,1] = pointwise(%i) {cast($0, f32)}
  %at_as_bf16: bf16[4,1] = pointwise(%at) {cast($0, bf16)} "at as bf16"
  %z: bf16[4,64] = pointwise(%y, %at_as_bf16) {mul($0, $1)}
  %z_as_f32: f32[4,64] = pointwise(%z) {cast($0, f32)} "z as f32"
  output "z" %z_as_f32
  output "j" %j
}
