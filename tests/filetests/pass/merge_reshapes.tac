; test: pass merge_reshapes
; The last shape is the one that counts.
graph g {
  %x: f32[N,3,4] = input
  %a: f32[12*N] = reshape(%x) shape=[12*N]
  %b: f32[N,12] = reshape(%a) shape=[N,12]
  %c: f32[N,6,2] = reshape(%b) shape=[N,6,2]
  output "y" %c
}
; expect:
graph g {
  %x: f32[N,3,4] = input "x"
  %c: f32[N,6,2] = reshape(%x) shape=[N,6,2]
  output "y" %c
}
