package dtype

import "math"

// A tiny is a float dtype of 8 bits.
type tiny struct {
	layout
	values           [256]float32
	decoder, encoder [8]uint32 // for the vector kernels
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

func newTiny(l layout) *tiny {
	t := &tiny{layout: l}
	for bits := range t.values {
		t.values[bits] = float32(l.value(uint64(bits)))
	}
	t.decoder, t.encoder = l.decoderConstants(), l.encoderConstants()
	return t
}

// decoderConstants returns what decode32F8 kernels need to know of a dtype:
// shift, rebias, normal, unit, infinity, flip, mask, limit, as the stubs use
// them.
func (l *layout) decoderConstants() [8]uint32 {
	infinity, limit := uint32(0x100), uint32(l.max) // none
	if l.overflow != l.nan {
		infinity, limit = uint32(l.overflow), uint32(l.overflow)
	}
	flip, mask := uint32(0), uint32(0x7f)
	if l.fnuz { // the NaN is what flips to 0xff
		flip, mask, limit = 0x7f, 0xff, 0xfe
	}
	unit := math.Float32bits(float32(pow2(l.emin - l.mantissa)))
	return [8]uint32{uint32(23 - l.mantissa), l.rebias32(), 1 << l.mantissa, unit, infinity, flip, mask, limit}
}

// encoderConstants returns what encode32F8 kernels need to know of a dtype:
// shift, add, normal, one, max, overflow, nan, signed, as the stubs use them.
func (l *layout) encoderConstants() [8]uint32 {
	shift := 23 - l.mantissa
	half := uint32(1)<<(shift-1) - 1 // of the last bit, less one
	one := math.Float32bits(float32(pow2(l.emin - l.mantissa + 23)))
	signed := uint32(1)
	if l.fnuz {
		signed = 0
	}
	rebias := l.rebias32()
	return [8]uint32{uint32(shift), half - rebias, rebias + 1<<23, one, uint32(l.max), uint32(l.overflow), uint32(l.nan), signed}
}

// rebias32 is rebias to float32.
func (l *layout) rebias32() uint32 { return uint32(l.emin-1+127) << 23 }

func (t *tiny) decode32(k *kernels, dst []float32, src []byte) {
	n := len(dst) / block * block
	if k.decode32F8 == nil {
		n = 0
	} else if n > 0 {
		k.decode32F8(n, &dst[0], &src[0], &t.decoder[0])
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
		k.encode32F8(n, &dst[0], &src[0], &t.encoder[0])
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
