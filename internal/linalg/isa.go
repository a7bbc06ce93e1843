package linalg

// An isa is one implementation of the kernels.
type isa uint8

const (
	generic isa = iota
	avx2
	avx512

	// Of products of bfloat16 values only, see ProductsBF16: the values
	// widened to float32, or in pairs.
	genericFlush
	avx2Flush
	avx512Flush
	avx512Pairs
)

var isaNames = [...]string{
	generic: "generic", avx2: "avx2", avx512: "avx512",
	genericFlush: "generic", avx2Flush: "avx2", avx512Flush: "avx512", avx512Pairs: "avx512bf16",
}

// String returns the name that [Kernel] reports.
func (i isa) String() string { return isaNames[i] }

// Kernel names the implementation in use: "avx512", "avx2" or "generic". It
// follows the processor, GODEBUG (cpu.avx512f=off, cpu.avx2=off) and the
// build tag noasm.
func Kernel() string { return best().String() }

// KernelBF16 is [Kernel] for products of bfloat16 values: "avx512bf16" where
// the processor has it and GODEBUG does not say cpu.avx512bf16=off.
func KernelBF16() string { return bestBF16().String() }

// unrounded returns the implementation of the same tiles for products of
// float32 values.
func (i isa) unrounded() isa {
	switch i {
	case genericFlush:
		return generic
	case avx2Flush:
		return avx2
	case avx512Flush, avx512Pairs:
		return avx512
	}
	return i
}

// shape returns the size of the largest tile of C that i computes at once:
// mr rows, nr columns.
func shape[T Float](i isa) (mr, nr int) {
	switch i {
	case avx512, avx512Flush, avx512Pairs:
		mr, nr = 12, 16
	case avx2, avx2Flush:
		mr, nr = 6, 8
	default:
		return 4, 8
	}
	if narrow[T]() {
		nr *= 2
	}
	return mr, nr
}

// tileRows returns the height of the next tile when rows rows of C are left:
// of the heights that i has a kernel for, the largest that fits, or the
// smallest that covers the rest.
func (i isa) tileRows(rows int) int {
	full, step := 4, 4
	switch i {
	case avx512, avx512Flush, avx512Pairs:
		full, step = 12, 4
	case avx2, avx2Flush:
		full, step = 6, 2
	}
	return min(full, (rows+step-1)/step*step)
}
