package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/huff0"
)

// VerbatimBytes is how many bytes of a tensor are coded together; a multiple
// of every element's width, and small enough for huff0, whose blocks must stay
// below 256 KiB.
const VerbatimBytes = 1 << 17

// Modes of a plane.
const (
	planeRaw  = iota // the bytes
	planeRun         // one byte, repeated
	planeHuff        // a table and four streams of huff0
)

var errPlane = errors.New("plane of bytes is damaged")

// A PlaneCoder codes bytes of floating-point values without loss. The bytes of
// the elements are split into planes, one for each byte; the highest plane of
// a dtype with sign and exponent in front is rotated so that it holds the
// exponent alone, which is what can be compressed (Hershcovitch et al. 2024,
// ZipNN). It belongs to one goroutine.
type PlaneCoder struct {
	scratch huff0.Scratch
	plane   []byte
}

// Encode appends the code of src, at most VerbatimBytes, to dst. Width is the
// number of bytes of an element.
func (c *PlaneCoder) Encode(dst, src []byte, width int) []byte {
	n := len(src) / width
	for p := range width {
		c.split(src, width, p, n)
		dst = c.encodePlane(dst, c.plane)
	}
	return append(dst, src[n*width:]...)
}

// split takes byte p of every element, the elements rotated left by one bit.
func (c *PlaneCoder) split(src []byte, width, p, n int) {
	c.plane = c.plane[:0]
	below := (p + width - 1) % width
	for i := range n {
		e := src[i*width : (i+1)*width]
		c.plane = append(c.plane, e[p]<<1|e[below]>>7)
	}
}

func (c *PlaneCoder) encodePlane(dst, plane []byte) []byte {
	if len(plane) == 0 {
		return append(dst, planeRaw)
	}
	c.scratch.Reuse = huff0.ReusePolicyNone
	out, _, err := huff0.Compress4X(plane, &c.scratch)
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		return append(dst, planeRun, plane[0])
	case err != nil || len(out) >= len(plane):
		return append(append(dst, planeRaw), plane...)
	}
	dst = binary.AppendUvarint(append(dst, planeHuff), uint64(len(out)))
	return append(dst, out...)
}

// Decode fills dst with what Encode coded.
func (c *PlaneCoder) Decode(dst, code []byte, width int) error {
	n := len(dst) / width
	if len(dst) > VerbatimBytes {
		return fmt.Errorf("%w: %d bytes", errPlane, len(dst))
	}
	clear(dst[:n*width])
	for p := range width {
		rest, err := c.decodePlane(code, n)
		if err != nil {
			return err
		}
		code = rest
		below := (p + width - 1) % width
		for i, x := range c.plane {
			e := dst[i*width : (i+1)*width]
			if width == 1 {
				e[0] = x>>1 | x<<7
				continue
			}
			e[p] |= x >> 1
			e[below] |= x << 7
		}
	}
	if len(code) != len(dst)-n*width {
		return fmt.Errorf("%w: %d bytes are left", errPlane, len(code))
	}
	copy(dst[n*width:], code)
	return nil
}

// decodePlane decodes n bytes into c.plane and returns the code after them.
func (c *PlaneCoder) decodePlane(code []byte, n int) (rest []byte, err error) {
	c.plane = append(c.plane[:0], make([]byte, n)...)
	if len(code) == 0 {
		return nil, errPlane
	}
	mode, code := code[0], code[1:]
	switch {
	case mode == planeRaw && len(code) >= n:
		copy(c.plane, code)
		return code[n:], nil
	case mode == planeRun && len(code) >= 1:
		for i := range c.plane {
			c.plane[i] = code[0]
		}
		return code[1:], nil
	case mode == planeHuff:
		size, used := binary.Uvarint(code)
		if used <= 0 || size > uint64(len(code)-used) {
			return nil, errPlane
		}
		return code[used+int(size):], c.inflate(code[used:used+int(size)], n)
	}
	return nil, errPlane
}

func (c *PlaneCoder) inflate(code []byte, n int) error {
	s, streams, err := huff0.ReadTable(code, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errPlane, err)
	}
	s.MaxDecodedSize = n
	out, err := s.Decoder().Decompress4X(c.plane[:0:n], streams)
	if err != nil {
		return fmt.Errorf("%w: %w", errPlane, err)
	}
	if len(out) != n {
		return fmt.Errorf("%w: %d of %d bytes", errPlane, len(out), n)
	}
	return nil
}
