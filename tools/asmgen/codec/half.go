package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

const (
	nan32 = 0x7fc00000 // the positive quiet NaN
	inf32 = 0x7f800000
)

func decodeBF16(s set) {
	l := s.decoder("32BF16", "float32", 2, "",
		"\tfor i in 0…n-1:",
		"\t\tbits(dst[i]) = uint32(src16[i]) << 16")
	l.each(func() {
		for _, i := range s.starts(4) {
			r := s.Reg()
			VPMOVZXWD(l.file(i), r)
			VPSLLD(Imm(16), r, r)
			s.store(r, l.float(i))
		}
	})
}

func encodeBF16(s set) {
	l := s.encoder("32BF16", "float32", 2, "",
		"\tfor i in 0…n-1:",
		"\t\tu = bits(src[i])",
		"\t\tdst16[i] = (u + 0x7fff + u>>16&1) >> 16",
		"\t\tif src[i] is NaN: dst16[i] = 0x7fc0")
	one, round, nan := s.Constant(1), s.Constant(0x7fff), s.Constant(nan32>>16)
	l.each(func() {
		var words []VecVirtual
		for _, i := range s.starts(4) {
			u, r := s.Reg(), s.Reg()
			s.load(l.float(i), u)
			VPSRLD(Imm(16), u, r)
			s.and(one, r, r)
			VPADDD(u, r, r)
			VPADDD(round, r, r)
			VPSRLD(Imm(16), r, r)
			s.whereNaN(u, nan, r)
			words = append(words, r)
		}
		s.storeWords(words, l.file(0))
	})
}

// storeWords writes the low halves of a block of 32-bit elements below 2^16.
func (s set) storeWords(r []VecVirtual, m Mem) {
	if s.Wide {
		VPMOVDW(r[0], m)
		return
	}
	VMOVDQU(s.words(r), m)
}

// words packs a block of 32-bit elements below 2^16 into a register of AVX2.
func (s set) words(r []VecVirtual) VecVirtual {
	VPACKUSDW(r[1], r[0], r[0]) // quarters 0 2 1 3 of the block
	VPERMQ(Imm(0b11_01_10_00), r[0], r[0])
	return r[0]
}

func decodeF16(s set) {
	l := s.decoder("32F16", "float32", 2, "",
		"\tfor i in 0…n-1:",
		"\t\tbits(dst[i]) = float32FromF16(src16[i])")
	l.each(func() {
		for _, i := range s.starts(4) {
			r := s.Reg()
			VCVTPH2PS(l.file(i), r)
			s.store(r, l.float(i))
		}
	})
}

func encodeF16(s set) {
	l := s.encoder("32F16", "float32", 2, "",
		"\tfor i in 0…n-1:",
		"\t\tdst16[i] = binary16.round(src[i])")
	nan := s.Constant(nan32)
	l.each(func() {
		for _, i := range s.starts(4) {
			r := s.Reg()
			s.load(l.float(i), r)
			s.whereNaN(r, nan, r)
			VCVTPS2PH(Imm(0), r, l.file(i)) // 0: to nearest even, whatever MXCSR says
		}
	})
}

func decodeF32(s set) {
	l := s.decoder("64F32", "float64", 4, "",
		"\tfor i in 0…n-1:",
		"\t\tdst[i] = wide(src32[i])")
	l.each(func() {
		for _, i := range s.starts(8) {
			r := s.Reg()
			VCVTPS2PD(l.file(i), r)
			VMOVUPD(r, l.float(i))
		}
	})
}

func encodeF32(s set) {
	l := s.encoder("64F32", "float64", 4, "",
		"\tfor i in 0…n-1:",
		"\t\tdst32[i] = narrow(src[i])")
	nan, g := s.Reg(), GP64()
	x := XMM()
	MOVQ(U64(0x7ff8<<48), g)
	VMOVQ(g, x)
	VPBROADCASTQ(x, nan)
	l.each(func() {
		for _, i := range s.starts(8) {
			r, h := s.Reg(), s.Half()
			VMOVUPD(l.float(i), r)
			if s.Wide {
				k := K()
				VCMPPD(Imm(3), r, r, k)
				VMOVAPD(nan, k, r)
				VCVTPD2PS(r, h)
				VMOVUPS(h, l.file(i))
				continue
			}
			m := YMM()
			VCMPPD(Imm(3), r, r, m)
			VBLENDVPD(m, nan, r, r)
			VCVTPD2PSY(r, h)
			VMOVUPS(h, l.file(i))
		}
	})
}
