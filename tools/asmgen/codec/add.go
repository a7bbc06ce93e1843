package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

// A half is a dtype of 16 bits in the kernels that add and round.
type half struct {
	name string
	// prepare loads constants and returns decode, from memory to 32-bit floats,
	// and round. That rounds the magnitudes low and high, gives high, which gets
	// the value, the sign of t, stores its words at m and sets a bit of flags for
	// each element that low rounds otherwise. It overwrites low.
	prepare func(s set, sign VecVirtual) (decode func(m Mem, r Op), round func(low, high, t VecVirtual, m Mem, flags GPVirtual))
}

var halves = []half{{"BF16", prepareBF16}, {"F16", prepareF16}}

// addRound emits the kernel of AddRound32.
func addRound(s set, h half) {
	TEXT("addRound"+h.name+s.Name, NOSPLIT, "func(n int, dst, src *byte, d *float32, e float32, doubtful *uint16, sums *float32) (changed int)")
	Pragma("noescape")
	Doc("addRound"+h.name+s.Name+" computes, for n a multiple of 16, little-endian values and any alignment,",
		"",
		"\tfor i in 0…n-1:",
		"\t\tw, l = decode(src16[i]), i mod 16",
		"\t\tt = w + d[i]",
		"\t\tlow, high = bits(|t|-e) - 2, bits(|t|+e) + 1",
		"\t\tdst16[i] = round(high) with the sign of t",
		"\t\tbit l of doubtful[i/16] = round(low) differs",
		"\t\tv = decode(dst16[i])",
		"\t\tchanged += 1 if v and w differ",
		"\t\tsums[l] += w·w, sums[16+l] += (v-w)·d[i], sums[32+l] += d[i]·d[i]",
		"",
		"with every operation rounded to float32.")

	n, i, changed := Load(Param("n"), GP64()), GP64(), GP64()
	dst, src := Load(Param("dst"), GP64()), Load(Param("src"), GP64())
	d, doubtful := Load(Param("d"), GP64()), Load(Param("doubtful"), GP64())
	sums := GP64()
	e := s.Reg()
	p, err := Param("e").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(p.Addr, e)
	sign := s.Constant(1 << 31)
	decode, round := h.prepare(s, sign)
	starts := s.starts(4)
	sum := func(kind, r int) Mem { return Mem{Base: sums, Disp: 64*kind + 4*starts[r]} }

	Load(Param("sums"), sums)
	var totals [3][]VecVirtual
	for kind := range totals {
		for r := range starts {
			v := s.Reg()
			s.load(sum(kind, r), v)
			totals[kind] = append(totals[kind], v)
		}
	}
	XORQ(i, i)
	XORQ(changed, changed)
	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	flags, count := GP32(), GP32()
	for r, start := range starts {
		delta, w, t := s.Reg(), s.Reg(), s.Reg()
		s.load(Mem{Base: d, Index: i, Scale: 4, Disp: 4 * start}, delta)
		decode(Mem{Base: src, Index: i, Scale: 2, Disp: 2 * start}, w)
		VADDPS(delta, w, t)
		low, high := s.Reg(), s.Reg()
		s.andNot(t, sign, high)
		VSUBPS(e, high, low)
		VADDPS(e, high, high)
		round(low, high, t, Mem{Base: dst, Index: i, Scale: 2, Disp: 2 * start}, flags)
		storeFlags(flags, start, Mem{Base: doubtful})
		v := high
		s.different(v, w, count)
		POPCNTL(count, count)
		ADDQ(count.As64(), changed)
		measure(w, v, delta, low, totals[0][r], totals[1][r], totals[2][r])
	}
	ADDQ(I8(2), doubtful)
	ADDQ(I8(isa.Block), i)
	JMP(LabelRef("loop"))
	Label("done")
	for kind := range totals {
		for r, v := range totals[kind] {
			s.store(v, sum(kind, r))
		}
	}
	VZEROUPPER()
	Store(changed, ReturnIndex(0))
	RET()
}

// storeFlags writes the flags of a block's elements from the given one on; those
// from 0 on come first.
func storeFlags(flags GPVirtual, start int, m Mem) {
	if start == 0 {
		MOVW(flags.As16(), m)
		return
	}
	SHLL(U8(start), flags)
	ORW(flags.As16(), m)
}

// measure adds w², (v−w)·delta and delta² to sums. It overwrites x.
func measure(w, v, delta, x, w2, dot, d2 VecVirtual) {
	VMULPS(w, w, x)
	VADDPS(x, w2, w2)
	VSUBPS(w, v, x)
	VMULPS(delta, x, x)
	VADDPS(x, dot, dot)
	VMULPS(delta, delta, x)
	VADDPS(x, d2, d2)
}

// different sets a bit of flags for each 32-bit element in which x and y
// differ.
func (s set) different(x, y VecVirtual, flags GPVirtual) {
	if s.Wide {
		const notEqual = 4
		k := K()
		VPCMPD(U8(notEqual), x, y, k)
		KMOVW(k, flags)
		return
	}
	equal := YMM()
	VPCMPEQD(x, y, equal)
	VMOVMSKPS(equal, flags)
	XORL(U8(0xff), flags)
}

// addSign inverts the sign of x where t is negative.
func (s set) addSign(t, sign, x VecVirtual) {
	if s.Wide {
		const xorOfAnd = 0x78 // x ^ t&sign
		VPTERNLOGD(U8(xorOfAnd), t, sign, x)
		return
	}
	y := YMM()
	VPAND(t, sign, y)
	VPXOR(x, y, x)
}

// prepareBF16 rounds low half down and high half up, so that where they agree
// so do all values between them, to whichever side ties go. What it makes of a
// NaN need not be one.
func prepareBF16(s set, sign VecVirtual) (func(Mem, Op), func(low, high, t VecVirtual, m Mem, flags GPVirtual)) {
	down, up := s.Constant(0x7fff-2), s.Constant(0x8000+1)
	different := s.differentUpper()
	decode := func(m Mem, r Op) {
		VPMOVZXWD(m, r)
		VPSLLD(Imm(16), r, r)
	}
	round := func(low, high, t VecVirtual, m Mem, flags GPVirtual) {
		VPADDD(down, low, low)
		VPADDD(up, high, high)
		different(high, low, flags)
		s.addSign(t, sign, high)
		VPSRLD(Imm(16), high, high)
		s.storeLowWords(high, m)
		VPSLLD(Imm(16), high, high)
	}
	return decode, round
}

// differentUpper loads a constant and returns what sets a bit of flags for each
// 32-bit element whose upper halves differ in x and y. It overwrites y.
func (s set) differentUpper() func(x, y VecVirtual, flags GPVirtual) {
	if s.Wide {
		upper := s.Constant(0xffff0000)
		return func(x, y VecVirtual, flags GPVirtual) {
			k := K()
			VPXORD(x, y, y)
			VPTESTMD(upper, y, k)
			KMOVW(k, flags)
		}
	}
	return func(x, y VecVirtual, flags GPVirtual) {
		zero := YMM()
		VPXOR(zero, zero, zero)
		VPXOR(x, y, y)
		VPSRLD(Imm(16), y, y)
		s.different(y, zero, flags)
	}
}

// storeLowWords writes the low halves of a register of 32-bit elements below
// 2^16.
func (s set) storeLowWords(r VecVirtual, m Mem) {
	if s.Wide {
		VPMOVDW(r, m)
		return
	}
	x := XMM()
	VEXTRACTI128(Imm(1), r, x)
	VPACKUSDW(x, r.AsX(), x)
	VMOVDQU(x, m)
}

func prepareF16(s set, sign VecVirtual) (func(Mem, Op), func(low, high, t VecVirtual, m Mem, flags GPVirtual)) {
	down, up := s.Constant(1<<32-2), s.Constant(1)
	decode := func(m Mem, r Op) { VCVTPH2PS(m, r) }
	round := func(low, high, t VecVirtual, m Mem, flags GPVirtual) {
		VPADDD(down, low, low)
		VPADDD(up, high, high)
		s.addSign(t, sign, low)
		s.addSign(t, sign, high)
		h := s.Half()
		VCVTPS2PH(Imm(0), low, h) // 0: to nearest even, whatever MXCSR says
		VCVTPH2PS(h, low)
		VCVTPS2PH(Imm(0), high, h)
		VMOVDQU(h, m)
		VCVTPH2PS(h, high)
		s.different(high, low, flags)
	}
	return decode, round
}
