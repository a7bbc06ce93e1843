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
	// and round, which replaces floats in r by what rounding leaves of them; it
	// stores the words at m unless that is nil.
	prepare func(s set) (decode func(m Mem, r Op), round func(r VecVirtual, m *Mem))
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
		"\t\tm = |t|·2^-22 + e",
		"\t\tdst16[i] = round(t-m)",
		"\t\tbit l of doubtful[i/16] = round(t+m) differs",
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
	mask, scale := s.Constant(1<<31-1), s.Constant((127-22)<<23)
	decode, round := h.prepare(s)
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
		delta := Mem{Base: d, Index: i, Scale: 4, Disp: 4 * start}
		w, t, m := s.Reg(), s.Reg(), s.Reg()
		decode(Mem{Base: src, Index: i, Scale: 2, Disp: 2 * start}, w)
		VADDPS(delta, w, t)
		s.and(t, mask, m)
		VMULPS(scale, m, m)
		VADDPS(e, m, m)
		high := s.Reg()
		VADDPS(m, t, high)
		VSUBPS(m, t, t)
		round(t, &Mem{Base: dst, Index: i, Scale: 2, Disp: 2 * start})
		round(high, nil)
		s.different(t, high, flags)
		if r > 0 {
			SHLL(U8(start), flags)
			part := Mem{Base: doubtful}
			ORW(flags.As16(), part)
		} else {
			MOVW(flags.As16(), Mem{Base: doubtful})
		}
		s.different(t, w, count)
		POPCNTL(count, count)
		ADDQ(count.As64(), changed)
		x := s.Reg()
		VMULPS(w, w, x)
		VADDPS(x, totals[0][r], totals[0][r])
		VSUBPS(w, t, x)
		VMULPS(delta, x, x)
		VADDPS(x, totals[1][r], totals[1][r])
		s.load(delta, x)
		VMULPS(x, x, x)
		VADDPS(x, totals[2][r], totals[2][r])
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

// prepareBF16 rounds to nearest even, infinities included; what it makes of
// a NaN need not be one.
func prepareBF16(s set) (func(Mem, Op), func(VecVirtual, *Mem)) {
	one, bias := s.Constant(1), s.Constant(0x7fff)
	decode := func(m Mem, r Op) {
		VPMOVZXWD(m, r)
		VPSLLD(Imm(16), r, r)
	}
	round := func(r VecVirtual, m *Mem) {
		x := s.Reg()
		VPSRLD(Imm(16), r, x)
		s.and(one, x, x)
		VPADDD(x, r, r)
		VPADDD(bias, r, r)
		VPSRLD(Imm(16), r, r)
		if m != nil {
			s.storeLowWords(r, *m)
		}
		VPSLLD(Imm(16), r, r)
	}
	return decode, round
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

func prepareF16(s set) (func(Mem, Op), func(VecVirtual, *Mem)) {
	decode := func(m Mem, r Op) { VCVTPH2PS(m, r) }
	round := func(r VecVirtual, m *Mem) {
		h := s.Half()
		VCVTPS2PH(Imm(0), r, h) // 0: to nearest even, whatever MXCSR says
		if m != nil {
			VMOVDQU(h, *m)
		}
		VCVTPH2PS(h, r)
	}
	return decode, round
}
