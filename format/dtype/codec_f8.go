package dtype

// A tiny is a float dtype of 8 bits.
type tiny struct {
	layout
	values [256]float32
	decode decode8
	encode encode8
}

var (
	// OCP 8-bit Floating Point Specification 1.0. E4M3 has no infinity; values
	// that round beyond 448 become NaN, as in torch and ml_dtypes.
	e5m2 = newTiny(layout{width: 1, mantissa: 2, emin: -14, max: 0x7b, overflow: 0x7c, nan: 0x7e, sign: 0x80})
	e4m3 = newTiny(layout{width: 1, mantissa: 3, emin: -6, max: 0x7e, overflow: 0x7f, nan: 0x7f, sign: 0x80})

	// Noune et al. 2022, "8-bit numerical formats for deep neural networks".
	e4m3fnuz = newTiny(layout{width: 1, mantissa: 3, emin: -7, max: 0x7f, overflow: 0x80, nan: 0x80, sign: 0x80, fnuz: true})
	e5m2fnuz = newTiny(layout{width: 1, mantissa: 2, emin: -15, max: 0x7f, overflow: 0x80, nan: 0x80, sign: 0x80, fnuz: true})
)

// A decode8 holds what the vector kernels need to know of a dtype of 8 bits to
// decode it, as the kernels' comment says.
type decode8 struct {
	shift    uint32  // 23 - mantissa
	rebias   uint32  // of the shifted bits to float32
	normal   uint32  // magnitude of the smallest normal value
	unit     float32 // smallest subnormal value
	flip     uint32  // NaN is (bits^flip)&mask > limit
	mask     uint32
	limit    uint32
	infinity uint32 // magnitude of infinity, or what no magnitude is
}

// An encode8 does the same for encoding.
type encode8 struct {
	shift    uint32  // 23 - mantissa
	rebias   uint32  // of the shifted bits to float32
	normal   uint32  // float32 bits of the smallest normal value
	half     uint32  // a half of the last bit, less one
	one      float32 // whose last bit is worth that of the dtype
	max      uint32
	overflow uint32
	nan      uint32
	signed   uint32 // 1 if there is a negative zero, else 0
}

func newTiny(l layout) *tiny {
	t := &tiny{layout: l}
	for bits := range t.values {
		t.values[bits] = float32(l.value(uint64(bits)))
	}
	shift := uint32(23 - l.mantissa)
	rebias := uint32(l.emin-1+127) << 23
	t.decode = decode8{
		shift: shift, rebias: rebias, normal: 1 << l.mantissa, unit: float32(pow2(l.emin - l.mantissa)),
		mask: 0x7f, limit: uint32(l.max), infinity: 0x100,
	}
	t.encode = encode8{
		shift: shift, rebias: rebias, normal: rebias + 1<<23, half: 1<<(shift-1) - 1,
		one: float32(pow2(l.emin - l.mantissa + 23)),
		max: uint32(l.max), overflow: uint32(l.overflow), nan: uint32(l.nan), signed: 1,
	}
	if l.overflow != l.nan { // there are infinities
		t.decode.infinity, t.decode.limit = uint32(l.overflow), uint32(l.overflow)
	}
	if l.fnuz {
		t.decode.flip, t.decode.mask, t.decode.limit = 0x7f, 0xff, 0xfe
		t.encode.signed = 0
	}
	return t
}

func (t *tiny) decode32(k *kernels, dst []float32, src []byte) {
	n := len(dst) / block * block
	if k.decode32F8 == nil {
		n = 0
	} else if n > 0 {
		k.decode32F8(n, &dst[0], &src[0], &t.decode)
	}
	for i := n; i < len(dst); i++ {
		dst[i] = t.values[src[i]]
	}
}

func (t *tiny) encode32(k *kernels, dst []byte, src []float32) {
	n := len(src) / block * block
	if k.encode32F8 == nil {
		n = 0
	} else if n > 0 {
		k.encode32F8(n, &dst[0], &src[0], &t.encode)
	}
	for i := n; i < len(src); i++ {
		dst[i] = byte(t.round(wide(src[i])))
	}
}

func (t *tiny) decode64(_ *kernels, dst []float64, src []byte) {
	for i := range dst {
		dst[i] = wide(t.values[src[i]])
	}
}

func (t *tiny) encode64(_ *kernels, dst []byte, src []float64) {
	for i, x := range src {
		dst[i] = byte(t.round(x))
	}
}
