; test: precision f16
; A weight beyond f16 is named.
graph g {
  %x: f32[1,2] = input "x"
  %w: f32[2,2] = const {1.0, 2.0, 100000.0, 3.0}
  %y: f32[1,2] = matmul(%x, %w)
  output "y" %y
}
; expect:
`w` holds 1e5, the largest value of f16 is 6.5504e4: build for bf16 or f32, or scale the weights
