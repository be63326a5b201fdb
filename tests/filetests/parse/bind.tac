; test: parse
; bind: N=4 H=8
; Numbers for symbols go through attributes and shapes.
graph bind {
  %x: f32[N,H] = input
  %t: f32[H,N] = transpose(%x) perm=[1,0]
  %r: f32[N*H] = reshape(%t) shape=[N*H]
  %s: f32[floor(N*H, 3)] = slice(%r) axes=[(0,1,floor(N*H, 3))]
  output "y" %s
}
; expect:
graph bind {
  %x: f32[4,8] = input "x"
  %t: f32[8,4] = transpose(%x) perm=[1,0]
  %r: f32[32] = reshape(%t) shape=[32]
  %s: f32[10] = slice(%r) axes=[(0,1,10)]
  output "y" %s
}
