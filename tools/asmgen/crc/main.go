// Crc writes the assembly of internal/crc: the amd64 kernel that folds bytes
// to sixteen with the same sums, and its Go declaration. Run it by `go generate
// ./internal/crc`.
package main

import (
	"math/bits"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The kernel folds as Gopal et al. 2009 do ("Fast CRC computation for generic
// polynomials using PCLMULQDQ instruction", Intel white paper), but modulo the
// product of two polynomials. Bytes of a message hold the coefficients from
// the highest on in their bits from the lowest on, so bit i of a register of
// 128 bits belongs to x^(127-i), and bit i of one of its halves to x^(63-i).
// A product of halves as PCLMULQDQ leaves it is x times theirs.

const (
	// streams is how many registers are folded side by side, so that none
	// waits for its last multiplication.
	streams = 4
	bytes   = 64 // of a register
)

func main() {
	ConstraintExpr("amd64,!noasm")
	t := newTable()
	far, near := t.fold(8*bytes*streams), t.fold(8*bytes)
	lanes := t.fold(3*128, 2*128, 128, 0)
	ofCastagnoli, ofIEEE := idempotents()
	// States have x^32 in the lowest bit of a half, and belong at x^96 of the first 16 bytes.
	start := t.put(shift(ofCastagnoli, 96-32-1), shift(ofIEEE, 96-32-1))
	fold(far, near, lanes, start)
	Generate()
}

// A table is the constants of the kernel.
type table struct {
	at   Mem
	size int
}

func newTable() *table { return &table{at: GLOBL("constants", RODATA|NOPTR)} }

// put appends polynomials and returns where they are.
func (t *table) put(polynomials ...uint64) Mem {
	at := t.at.Offset(t.size)
	for _, p := range polynomials {
		DATA(t.size, U64(bits.Reverse64(p)))
		t.size += 8
	}
	return at
}

// fold appends, for each distance in bits, what the low and the high half of
// 128 bits are multiplied by to move there.
func (t *table) fold(distances ...int) Mem {
	at := t.at.Offset(t.size)
	for _, d := range distances {
		t.put(power(64+d-1), power(d-1))
	}
	return at
}

// fold emits the kernel.
func fold(far, near, lanes, start Mem) {
	TEXT("foldAVX512", NOSPLIT, "func(n int, p *byte, castagnoli, ieee uint32) (low, high uint64)")
	Pragma("noescape")
	Doc("foldAVX512 returns, for n a multiple of 16, at least 256, sixteen bytes with the",
		"same CRCs as p: states without inversion and of zero go with them to where p",
		"takes castagnoli and ieee. With m the product of both polynomials,",
		"",
		"\tr = p[0…15] + x^96·s, s = castagnoli and ieee modulo their polynomials",
		"\tfor i in 16, 32…n-16:",
		"\t\tr = x^128·r + p[i…i+15] modulo m")
	n, p := Load(Param("n"), GP64()), Load(Param("p"), GP64())
	state := stateOf(start)
	k := ZMM()
	VBROADCASTI32X4(far, k)
	var r [streams]VecVirtual
	for i := range r {
		r[i] = ZMM()
		VMOVDQU64(Mem{Base: p, Disp: i * bytes}, r[i])
	}
	VPXORQ(state.AsZ(), r[0], r[0])
	SUBQ(I32(streams*bytes), n)
	ADDQ(I32(streams*bytes), p)
	each(n, p, streams*bytes, "far", func() {
		for i := range r {
			step(k, r[i], Mem{Base: p, Disp: i * bytes}, ZMM())
		}
	})
	VBROADCASTI32X4(near, k)
	last := r[0]
	for i := 1; i < streams; i++ {
		step(k, last, r[i], ZMM())
	}
	each(n, p, bytes, "near", func() { step(k, last, Mem{Base: p}, ZMM()) })
	x := join(last, lanes)
	one := XMM()
	VMOVDQU(lanes.Offset(2*16), one)
	each(n, p, 16, "one", func() {
		y := XMM()
		VPCLMULQDQ(Imm(0x00), one, x, y)
		VPCLMULQDQ(Imm(0x11), one, x, x)
		VPXOR(y, x, x)
		VPXOR(Mem{Base: p}, x, x)
	})
	low, high := GP64(), GP64()
	VMOVQ(x, low)
	VPEXTRQ(Imm(1), x, high)
	VZEROUPPER()
	Store(low, Return("low"))
	Store(high, Return("high"))
	RET()
}

// stateOf returns what is added to the first 16 bytes, and zeros above.
func stateOf(start Mem) VecVirtual {
	s, c, i := XMM(), XMM(), XMM()
	VMOVDQU(start, s)
	VMOVD(Load(Param("castagnoli"), GP32()), c)
	VMOVD(Load(Param("ieee"), GP32()), i)
	VPCLMULQDQ(Imm(0x00), s, c, c)
	VPCLMULQDQ(Imm(0x10), s, i, i)
	VPXOR(c, i, i)
	return i
}

// each emits a loop over size bytes at p, as often as n has them.
func each(n, p Register, size int, name string, body func()) {
	Label(name)
	SUBQ(I32(int32(size)), n)
	JLT(LabelRef(name + "Done"))
	body()
	ADDQ(I32(int32(size)), p)
	JMP(LabelRef(name))
	Label(name + "Done")
	ADDQ(I32(int32(size)), n)
}

// step moves r by the distance of k and adds next; it changes t.
func step(k, r VecVirtual, next Op, t VecVirtual) {
	const xor = 0x96 // of three
	VPCLMULQDQ(Imm(0x00), k, r, t)
	VPCLMULQDQ(Imm(0x11), k, r, r)
	VPTERNLOGQ(U8(xor), next, t, r)
}

// join returns the sum of the four lanes of r, each moved to the last.
func join(r VecVirtual, lanes Mem) VecVirtual {
	k, t := ZMM(), ZMM()
	VMOVDQU64(lanes, k)
	VPCLMULQDQ(Imm(0x00), k, r, t)
	VPCLMULQDQ(Imm(0x11), k, r, r)
	VPXORQ(t, r, r)
	y, x := YMM(), XMM()
	VEXTRACTI64X4(Imm(1), r, y)
	VPXOR(y, r.AsY(), y)
	VEXTRACTI128(Imm(1), y, x)
	VPXOR(y.AsX(), x, x)
	return x
}
