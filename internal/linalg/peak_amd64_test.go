//go:build !noasm

package linalg

// peak32 and peak64 do n rounds of fused multiply-adds on registers and
// return how many floating-point operations a round has; 0 if there is no
// such loop.
func peak32(i isa, n int) (flops int) {
	switch i {
	case avx512:
		peak32AVX512(n)
		return 12 * 2 * 16
	case avx2:
		peak32AVX2(n)
		return 12 * 2 * 8
	}
	return 0
}

func peak64(i isa, n int) (flops int) {
	switch i {
	case avx512:
		peak64AVX512(n)
		return 12 * 2 * 8
	case avx2:
		peak64AVX2(n)
		return 12 * 2 * 4
	}
	return 0
}
