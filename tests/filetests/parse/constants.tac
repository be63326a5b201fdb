; test: parse
; Every element type; equal values become `fill`, long ones bytes.
graph constants {
  %f32: f32[4] = const {0.1, -0.0, nan, -inf}
  %odd_nan: f32[2] = const {0x7fc00001, 0xffc00000}
  %f64: f64[2] = const {0.1, 1e300}
  %f16: f16[3] = const {0.1, 65504.0, inf}
  %bf16: bf16[2] = const {0.1, -3.0}
  %i8: i8[2] = const {-128, 127}
  %u64: u64[2] = const {0, 18446744073709551615}
  %i64: i64[2] = const {-9223372036854775808, 9223372036854775807}
  %bool: bool[3] = const {true, false, true}
  %scalar: f32[] = const {2.5}
  %none: f32[0,3] = const {}
  %same: i16[2,2] = const {7, 7, 7, 7}
  %fill: bool[1000] = const fill true
  %bytes: u8[3,6] = const hex "000102030405060708090A0B0C0D0E0F1011"
  %noise: i8[20] = const seed 3
  output "y" %f32
}
; expect:
graph constants {
  %f32: f32[4] = const {0.1, -0.0, nan, -inf}
  %odd_nan: f32[2] = const {0x7fc00001, 0xffc00000}
  %f64: f64[2] = const {0.1, 1e300}
  %f16: f16[3] = const {0.099975586, 65504.0, inf}
  %bf16: bf16[2] = const {0.100097656, -3.0}
  %i8: i8[2] = const {-128, 127}
  %u64: u64[2] = const {0, 18446744073709551615}
  %i64: i64[2] = const {-9223372036854775808, 9223372036854775807}
  %bool: bool[3] = const {true, false, true}
  %scalar: f32[] = const {2.5}
  %none: f32[0,3] = const {}
  %same: i16[2,2] = const fill 7
  %fill: bool[1000] = const fill true
  %bytes: u8[3,6] = const hex "000102030405060708090a0b0c0d0e0f1011"
  %noise: i8[20] = const hex "0501f907feff00fe02fa0407fcfb0402fefd0005"
  output "y" %f32
}
