package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

// preimages emits the kernel of Preimager.Find for AVX-512F; AVX2 cannot
// compare integers of 64 bits without a sign.
func preimages() {
	TEXT("preimagesAVX512", NOSPLIT, "func(n int, r *int16, halves *uint16, x *float64, e float64, c *uint64)")
	Pragma("noescape")
	Doc("preimagesAVX512 computes, for n a multiple of 16, what Preimager.find does.")
	p := preimage{}
	n, i := Load(Param("n"), GP64()), GP64()
	p.r, p.halves, p.x = Load(Param("r"), GP64()), Load(Param("halves"), GP64()), Load(Param("x"), GP64())
	p.i = i
	p.constants()
	isa.Loop(n, i, func() {
		for at := 0; at < isa.Block; at += 8 {
			p.eight(at)
		}
	}, isa.Nothing)
}

// preimage is the state of the kernel: its pointers and its constants, one in
// each 64-bit element.
type preimage struct {
	r, halves, x Register
	i            GPVirtual
	shift        VecVirtual // in its lowest element

	rebias, half, ceil, above, normals, smallest, finite VecVirtual // as in Preimager
	e, ulps, magnitude, absolute, word, empty, unclear   VecVirtual
}

func (p *preimage) constants() {
	address, err := Param("e").Resolve()
	if err != nil {
		panic(err)
	}
	c := Load(Param("c"), GP64())
	p.shift = XMM()
	VMOVQ(Mem{Base: c}, p.shift)
	for i, to := range []*VecVirtual{&p.rebias, &p.half, &p.ceil, &p.above, &p.normals, &p.smallest, &p.finite} {
		*to = ZMM()
		VPBROADCASTQ(Mem{Base: c, Disp: 8 * (1 + i)}, *to)
	}
	p.e = ZMM()
	VBROADCASTSD(address.Addr, p.e)
	bits := func(b uint64) VecVirtual {
		g, r := GP64(), ZMM()
		MOVQ(U64(b), g)
		VPBROADCASTQ(g, r)
		return r
	}
	p.ulps = bits((1023 - 50) << 52)
	p.magnitude, p.absolute = bits(0x7fff), bits(1<<63-1)
	p.word, p.empty, p.unclear = bits(0xffff), bits(1), bits(0x80008000)
}

// eight finds the ranges of the block's elements from at on.
func (p *preimage) eight(at int) {
	const (
		less    = 1
		greater = 6
	)
	m, negative, low, high := ZMM(), ZMM(), ZMM(), ZMM()
	VPMOVZXWQ(Mem{Base: p.halves, Index: p.i, Scale: 2, Disp: 2 * at}, m)
	VPSRLQ(U8(15), m, negative)
	VPANDQ(p.magnitude, m, m)
	VPSLLQ(p.shift, m, high)
	VPADDQ(p.rebias, high, high)
	VPSUBQ(p.half, high, low)
	VPADDQ(p.half, high, high)
	x, e := ZMM(), ZMM()
	VPSLLQ(U8(63), negative, x)
	VPXORQ(Mem{Base: p.x, Index: p.i, Scale: 8, Disp: 8 * at}, x, x)
	VPANDQ(p.absolute, x, e)
	VADDPD(e, high, e)
	VMULPD(p.ulps, e, e)
	VADDPD(p.e, e, e)
	VSUBPD(x, low, low)
	VSUBPD(x, high, high)

	clear := K()
	VPSUBQ(p.above, m, m)
	VPCMPUQ(U8(less), p.normals, m, clear)
	// same rounds two bounds, of which outer is the farther one, and keeps in
	// clear where it is within the grid and both become the same.
	same := func(outer, inner VecVirtual, round func(v VecVirtual)) {
		t := ZMM()
		VPSUBQ(p.smallest, outer, t)
		VPCMPUQ(U8(less), p.finite, t, clear, clear)
		for _, v := range []VecVirtual{outer, inner} {
			round(v)
			VPSRLQ(p.shift, v, v)
		}
		VPCMPEQQ(inner, outer, clear, clear)
	}
	first, last, inner := ZMM(), ZMM(), ZMM()
	VSUBPD(e, low, first)
	VADDPD(e, low, inner)
	same(first, inner, func(v VecVirtual) { VPADDQ(p.ceil, v, v) })
	VADDPD(e, high, last)
	VSUBPD(e, high, inner)
	same(last, inner, func(v VecVirtual) { VPSUBQ(p.rebias, v, v) })

	none, zero := K(), ZMM()
	VPCMPQ(U8(greater), last, first, none)
	VPXORQ(zero, zero, zero)
	VPSUBQ(negative, zero, negative) // all ones, or none
	VPXORQ(negative, first, first)
	VPXORQ(negative, last, last)
	least := ZMM()
	VPMINSQ(last, first, least)
	VPMAXSQ(last, first, last)
	VPANDQ(p.word, least, least)
	VPSLLQ(U8(16), last, last)
	VPORQ(last, least, least)
	VMOVDQA64(p.empty, none, least)
	VPBLENDMQ(least, p.unclear, clear, least)
	VPMOVQD(least, Mem{Base: p.r, Index: p.i, Scale: 4, Disp: 4 * at})
}
