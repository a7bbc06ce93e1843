package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// broadcasts loads element i of c into every element of a register.
func (s set) broadcasts(c Register, i int) VecVirtual {
	r := s.Reg()
	VPBROADCASTD(Mem{Base: c, Disp: 4 * i}, r)
	return r
}

// count loads element i of c as the count of a shift.
func count(c Register, i int) VecVirtual {
	r := XMM()
	VMOVD(Mem{Base: c, Disp: 4 * i}, r)
	return r
}

func decodeF8(s set) {
	l := s.decoder("32F8", "float32", 1, ", c *uint32",
		"\tshift, rebias, normal, unit, infinity, flip, mask, limit = c[0…7]",
		"\tfor i in 0…n-1:",
		"\t\tb = uint32(src[i]); m = b & 0x7f",
		"\t\tu = m<<shift + rebias",
		"\t\tif m < normal: u = bits(float32(m) * float(unit))",
		fmt.Sprintf("\t\tif m == infinity: u = %#x", inf32),
		"\t\tu |= (b ^ m) << 24",
		fmt.Sprintf("\t\tif (b^flip)&mask > limit: u = %#x", nan32),
		"\t\tbits(dst[i]) = u")
	c := Load(Param("c"), GP64())
	shift, rebias, normal, unit := count(c, 0), s.broadcasts(c, 1), s.broadcasts(c, 2), s.broadcasts(c, 3)
	infinity, flip, mask, limit := s.broadcasts(c, 4), s.broadcasts(c, 5), s.broadcasts(c, 6), s.broadcasts(c, 7)
	inf, nan := s.Constant(inf32), s.Constant(nan32)
	l.each(func() {
		for _, i := range s.starts(4) {
			b, m, u, t := s.Reg(), s.Reg(), s.Reg(), s.Reg()
			VPMOVZXBD(l.file(i), b)
			VPSLLD(Imm(25), b, m)
			VPSRLD(Imm(25), m, m)
			VPSLLD(shift, m, u)
			VPADDD(rebias, u, u)
			VCVTDQ2PS(m, t)
			VMULPS(unit, t, t)
			s.whereGreater(normal, m, t, u)
			s.whereEqual(m, infinity, inf, u)
			s.xor(b, m, t)
			VPSLLD(Imm(24), t, t)
			s.or(t, u, u)
			s.xor(b, flip, t)
			s.and(t, mask, t)
			s.whereGreater(t, limit, nan, u)
			s.store(u, l.float(i))
		}
	})
}

func encodeF8(s set) {
	l := s.encoder("32F8", "float32", 1, ", c *uint32",
		"\tshift, add, normal, one, max, overflow, nan, signed = c[0…7]",
		"\tfor i in 0…n-1:",
		"\t\tu = bits(src[i]); a = u & 0x7fffffff",
		"\t\tm = (a + add + a>>shift&1) >> shift",
		"\t\tif a < normal: m = bits(float(a) + float(one)) - one",
		"\t\tif m > max: m = overflow",
		"\t\tif (m|signed)&0x7f != 0: m |= u>>31<<7",
		"\t\tif src[i] is NaN: m = nan",
		"\t\tdst[i] = byte(m)")
	c := Load(Param("c"), GP64())
	shift, add, normal, one := count(c, 0), s.broadcasts(c, 1), s.broadcasts(c, 2), s.broadcasts(c, 3)
	max, overflow, nan, signed := s.broadcasts(c, 4), s.broadcasts(c, 5), s.broadcasts(c, 6), s.broadcasts(c, 7)
	l.each(func() {
		var r []VecVirtual
		for _, i := range s.starts(4) {
			u, a, m, t := s.Reg(), s.Reg(), s.Reg(), s.Reg()
			s.load(l.float(i), u)
			VPSLLD(Imm(1), u, a)
			VPSRLD(Imm(1), a, a)
			VPSRLD(shift, a, m)
			VPSLLD(Imm(31), m, m)
			VPSRLD(Imm(31), m, m)
			VPADDD(a, m, m)
			VPADDD(add, m, m)
			VPSRLD(shift, m, m)
			VADDPS(one, a, t)
			VPSUBD(one, t, t)
			s.whereGreater(normal, a, t, m)
			s.whereGreater(m, max, overflow, m)
			VPSRLD(Imm(31), u, a)
			VPSLLD(Imm(7), a, a)
			s.or(m, signed, t)
			VPSLLD(Imm(25), t, t)
			s.orWhere(t, a, m)
			s.whereNaN(u, nan, m)
			r = append(r, m)
		}
		s.storeBytes(r, l.file(0))
	})
}

// orWhere emits dst |= x for the 32-bit elements where t is not zero; it
// changes x.
func (s set) orWhere(t, x, dst VecVirtual) {
	if s.Wide {
		k := K()
		VPTESTMD(t, t, k)
		VPORD(x, dst, k, dst)
		return
	}
	zero := YMM()
	VPXOR(zero, zero, zero)
	VPCMPEQD(zero, t, t)
	VPANDN(x, t, x)
	VPOR(x, dst, dst)
}

// storeBytes writes the low bytes of a block of 32-bit elements below 2^8.
func (s set) storeBytes(r []VecVirtual, m Mem) {
	if s.Wide {
		VPMOVDB(r[0], m)
		return
	}
	w, high := s.words(r), XMM()
	VEXTRACTI128(Imm(1), w, high)
	VPACKUSWB(high, w.AsX(), high)
	VMOVDQU(high, m)
}
