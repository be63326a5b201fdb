// Units of 1 to 16 bytes that data is moved in.
#pragma once
#include "types.cuh"

template <int BYTES> struct UnitOf;
template <> struct UnitOf<1> { typedef u8 type; };
template <> struct UnitOf<2> { typedef u16 type; };
template <> struct UnitOf<4> { typedef u32 type; };
template <> struct UnitOf<8> { typedef uint2 type; };
template <> struct UnitOf<16> { typedef uint4 type; };
typedef typename UnitOf<UNIT>::type Unit;
