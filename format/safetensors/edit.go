package safetensors

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/loratool/loratool/format/dtype"
)

// An Edit asks for changes to a header. The zero value asks for none.
type Edit struct {
	DType  func(Tensor) dtype.DType // new dtype of each tensor; nil keeps all
	Remove func(name string) bool   // nil removes none
	Append []Spec                   // new tensors, after all others
}

// Edit returns the header of a file with the same tensors but for the changes.
// Order, names, metadata, unknown fields and white space are kept byte for
// byte; data_offsets are counted anew where sizes changed. The tensors keep
// the order of their bytes. If nothing changes the result is h itself.
func (h *Header) Edit(e Edit) (*Header, error) {
	plan, changed := h.plan(e)
	if !changed {
		return h, nil
	}
	if err := h.checkAppended(e); err != nil {
		return nil, err
	}
	p := newParser(h.raw, -1, h.file)
	p.spans = make([]span, 0, len(h.tensors))
	if err := p.run(); err != nil {
		return nil, fmt.Errorf("read the header again: %w", err)
	}
	return reparse(finishHeader(h.rewrite(p, plan, e.Append)), h.file)
}

// An edited tensor has a new dtype and place, or none if it is removed.
type edited struct {
	dtype      dtype.DType
	begin, end int64
	removed    bool
}

// plan gives every tensor, by index in h.tensors, and then every appended one
// its new place.
func (h *Header) plan(e Edit) (plan []edited, changed bool) {
	plan = make([]edited, 0, len(h.tensors)+len(e.Append))
	offset := int64(0)
	for _, t := range h.tensors {
		n := edited{dtype: t.DType, begin: offset}
		if n.removed = e.Remove != nil && e.Remove(t.Name); !n.removed {
			if e.DType != nil {
				n.dtype = e.DType(t)
			}
			size, _ := byteLen(n.dtype, t.Shape) // an overflow is found when the result is parsed
			offset += size
		}
		n.end = offset
		changed = changed || n.removed || n.dtype != t.DType
		plan = append(plan, n)
	}
	for _, s := range e.Append {
		size, _ := byteLen(s.DType, s.Shape)
		plan = append(plan, edited{dtype: s.DType, begin: offset, end: offset + size})
		offset += size
		changed = true
	}
	return plan, changed
}

func (h *Header) checkAppended(e Edit) error {
	if err := checkWritable(e.Append, nil); err != nil {
		return err
	}
	for _, s := range e.Append {
		if _, ok := h.Lookup(s.Name); ok && (e.Remove == nil || !e.Remove(s.Name)) {
			return fmt.Errorf("tensor %q is there already", s.Name)
		}
	}
	return nil
}

// rewrite copies the JSON of h and replaces what the plan changes.
func (h *Header) rewrite(p *parser, plan []edited, appended []Spec) []byte {
	src := h.raw[prefixLen:]
	b := append(make([]byte, prefixLen, len(h.raw)+len(h.raw)/8), src[:0]...)
	pos := 0 // of src, copied up to here
	copyTo := func(end int) { b, pos = append(b, src[pos:end]...), end }
	for _, s := range p.spans {
		k, _ := h.names.find(s.name, h.tensors)
		n, t := plan[k], h.tensors[k]
		if n.removed {
			copyTo(s.begin)
			pos = s.end
			b, pos = dropComma(b, src, pos)
			continue
		}
		for _, part := range s.parts() {
			copyTo(part[0])
			switch {
			case part == s.dtype && n.dtype != t.DType:
				b = append(append(append(b, '"'), n.dtype.String()...), '"')
				pos = part[1]
			case part == s.offset && (n.begin != t.Begin || n.end != t.End):
				b = appendOffsets(b, n.begin, n.end)
				pos = part[1]
			}
		}
		copyTo(s.end)
	}
	copyTo(bytes.LastIndexByte(src, '}'))
	for i, s := range appended {
		if last := bytes.TrimRight(b[prefixLen:], " \t\r\n"); last[len(last)-1] != '{' {
			b = append(b, ',')
		}
		n := plan[len(h.tensors)+i]
		b = appendEntry(b, s, n.begin, n.end)
	}
	return append(b, '}')
}

// dropComma removes the comma that separated a removed entry: the one after
// it in src, or else, for the last entry, the one before it in b.
func dropComma(b, src []byte, pos int) ([]byte, int) {
	rest := src[pos:]
	if t := bytes.TrimLeft(rest, " \t\r\n"); len(t) > 0 && t[0] == ',' {
		return b, pos + len(rest) - len(t) + 1
	}
	if t := bytes.TrimRight(b[prefixLen:], " \t\r\n"); len(t) > 0 && t[len(t)-1] == ',' {
		return b[:prefixLen+len(t)-1], pos
	}
	return b, pos
}

// parts returns the dtype and the offsets in the order of the text.
func (s span) parts() [2][2]int {
	if s.dtype[0] > s.offset[0] {
		return [2][2]int{s.offset, s.dtype}
	}
	return [2][2]int{s.dtype, s.offset}
}

// Specs returns what Build needs to make a header of the same tensors.
func (h *Header) Specs() []Spec {
	specs := make([]Spec, len(h.tensors))
	for i, t := range h.tensors {
		specs[i] = Spec{strings.Clone(t.Name), t.DType, t.Shape}
	}
	return specs
}
