package dtype

// block is the number of values that every kernel converts at once. The rest
// of a slice goes to the scalar code.
const block = 16

// kernels holds the vector kernels of one instruction set, each of which
// computes, bit for bit, what the scalar codec of the same name does. Kernels
// take a number of values that is a multiple of block and any alignment; nil
// means that there is none.
type kernels struct {
	name         string
	decode32BF16 func(n int, dst *float32, src *byte)
	encode32BF16 func(n int, dst *byte, src *float32)
	decode32F16  func(n int, dst *float32, src *byte)
	encode32F16  func(n int, dst *byte, src *float32)
	decode64F32  func(n int, dst *float64, src *byte)
	encode64F32  func(n int, dst *byte, src *float64)
	decode32F8   func(n int, dst *float32, src *byte, c *uint32)
	encode32F8   func(n int, dst *byte, src *float32, c *uint32)
	addRoundBF16 addRound
	addRoundF16  addRound
	coarser16    func(n int, set *uint16, a, b *byte, exponent uint16)
	preimages    func(n int, r *int16, halves *uint16, x *float64, e float64, c *uint64)
}

// addRound is the form of the kernels of AddRound32.
type addRound func(n int, dst, src *byte, d *float32, e float32, doubtful *uint16, sums *float32) (changed int)

var generic = kernels{name: "generic"}

// Kernel names the implementation in use: "avx512", "avx2" or "generic". It
// follows the processor, GODEBUG (cpu.avx512f=off, cpu.avx2=off) and the build
// tag noasm.
func Kernel() string { return best().name }

// head runs a kernel on as many whole blocks as n values have and returns how
// many values those are.
func head[D, S any](kernel func(n int, dst *D, src *S), n int, dst []D, src []S) int {
	n = n / block * block
	if kernel == nil || n == 0 {
		return 0
	}
	kernel(n, &dst[0], &src[0])
	return n
}
