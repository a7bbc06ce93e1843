//go:build !noasm

package dtype

import "golang.org/x/sys/cpu"

//go:generate go run -C ../../tools/asmgen ./codec -out ../../format/dtype/codec_amd64.s -stubs ../../format/dtype/codec_gen.go -pkg dtype

var avx2 = kernels{
	name:         "avx2",
	decode32BF16: decode32BF16AVX2,
	encode32BF16: encode32BF16AVX2,
	decode32F16:  decode32F16AVX2,
	encode32F16:  encode32F16AVX2,
	decode64F32:  decode64F32AVX2,
	encode64F32:  encode64F32AVX2,
	decode32F8:   decode32F8AVX2,
	encode32F8:   encode32F8AVX2,
	addRoundBF16: addRoundBF16AVX2,
	addRoundF16:  addRoundF16AVX2,
	coarser16:    coarser16AVX2,
}

var avx512 = kernels{
	name:         "avx512",
	decode32BF16: decode32BF16AVX512,
	encode32BF16: encode32BF16AVX512,
	decode32F16:  decode32F16AVX512,
	encode32F16:  encode32F16AVX512,
	decode64F32:  decode64F32AVX512,
	encode64F32:  encode64F32AVX512,
	decode32F8:   decode32F8AVX512,
	encode32F8:   encode32F8AVX512,
	addRoundBF16: addRoundBF16AVX512,
	addRoundF16:  addRoundF16AVX512,
	coarser16:    coarser16AVX2,
	preimages:    preimagesAVX512,
}

// best returns the fastest implementation that the processor has and GODEBUG
// allows. The AVX-512 kernels need no more than AVX-512F.
func best() *kernels {
	x := &cpu.X86
	switch {
	case !x.HasAVX2 || !x.HasF16C:
		return &generic
	case !x.HasAVX512F:
		return &avx2
	}
	return &avx512
}

// all lists the implementations that this machine can run, the best last.
func all() []*kernels {
	switch best() {
	case &avx512:
		return []*kernels{&generic, &avx2, &avx512}
	case &avx2:
		return []*kernels{&generic, &avx2}
	}
	return []*kernels{&generic}
}
