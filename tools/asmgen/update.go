package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// sumBytes is the size of the partial sums of one kind: 16 elements, of
// which the kernels for float64 use 8.
func (v vector) sumBytes() int { return 16 * v.size }

// update emits the loop of Update32 or Update64. Whatever the registers, the
// sums have the 64 bytes of one AVX-512 register.
func update(v vector) {
	name := v.name("update")
	lanes := 64 / v.size
	begin(name, fmt.Sprintf("func(n int, w, merged, d, sums *%s) (changed int)", v.elem()),
		fmt.Sprintf("%s computes, for n a multiple of %d,", name, lanes),
		"",
		"\tfor i in 0…n-1:",
		fmt.Sprintf("\t\tl = i mod %d", lanes),
		"\t\tsums[l] = fma(w[i], w[i], sums[l])",
		"\t\tsums[16+l] = fma(merged[i]-w[i], d[i], sums[16+l])",
		"\t\tsums[32+l] = fma(d[i], d[i], sums[32+l])",
		"\t\tchanged += 1 if the bits of merged[i] and w[i] differ")

	n := Load(Param("n"), GP64())
	w := Load(Param("w"), GP64())
	merged := Load(Param("merged"), GP64())
	d := Load(Param("d"), GP64())
	sums := Load(Param("sums"), GP64())
	regs := 64 / v.bytes()
	w2, dot, d2 := make([]VecVirtual, regs), make([]VecVirtual, regs), make([]VecVirtual, regs)
	for r := range regs {
		w2[r], dot[r], d2[r] = v.reg(), v.reg(), v.reg()
		v.move(Mem{Base: sums, Disp: r * v.bytes()}, w2[r])
		v.move(Mem{Base: sums, Disp: v.sumBytes() + r*v.bytes()}, dot[r])
		v.move(Mem{Base: sums, Disp: 2*v.sumBytes() + r*v.bytes()}, d2[r])
	}
	changed, i := GP64(), GP64()
	XORQ(changed, changed)
	XORQ(i, i)

	Label("loop")
	CMPQ(i, n)
	JGE(LabelRef("done"))
	for r := range regs {
		at := func(base Register) Mem {
			return Mem{Base: base, Index: i, Scale: uint8(v.size), Disp: r * v.bytes()}
		}
		x, y, z, diff := v.reg(), v.reg(), v.reg(), v.reg()
		v.move(at(w), x)
		v.move(at(merged), y)
		v.fmadd(x, x, w2[r])
		v.sub(x, y, diff)
		v.move(at(d), z)
		v.fmadd(z, diff, dot[r])
		v.fmadd(z, z, d2[r])
		ADDQ(v.countDifferent(x, y), changed)
	}
	ADDQ(I8(lanes), i)
	JMP(LabelRef("loop"))

	Label("done")
	for r := range regs {
		v.move(w2[r], Mem{Base: sums, Disp: r * v.bytes()})
		v.move(dot[r], Mem{Base: sums, Disp: v.sumBytes() + r*v.bytes()})
		v.move(d2[r], Mem{Base: sums, Disp: 2*v.sumBytes() + r*v.bytes()})
	}
	Store(changed, ReturnIndex(0))
	end()
}

// countDifferent returns the number of elements whose bits differ.
func (v vector) countDifferent(x, y VecVirtual) GPVirtual {
	count := GP64()
	if v.wide {
		const notEqual = 4
		k := K()
		v.pick(VPCMPUD, VPCMPUQ)(U8(notEqual), x, y, k)
		KMOVW(k, count.As32())
		POPCNTL(count.As32(), count.As32())
		return count
	}
	equal := v.reg()
	if v.size == 4 {
		VPCMPEQD(x, y, equal)
		VMOVMSKPS(equal, count.As32())
	} else {
		VPCMPEQQ(x, y, equal)
		VMOVMSKPD(equal, count.As32())
	}
	XORL(U8(1<<v.lanes()-1), count.As32())
	POPCNTL(count.As32(), count.As32())
	return count
}
