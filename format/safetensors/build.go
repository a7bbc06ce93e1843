package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/strictjson"
)

// A Spec describes a tensor that is to be written.
type Spec struct {
	Name  string
	DType dtype.DType
	Shape []int
}

// headerAlign is what the header length is padded to, so that data is aligned.
const headerAlign = 8

// Build makes the header of a new file, such that every reader takes it:
// tensors sorted by dtype, widest first, then by name, as the reference
// writer does; padded with spaces to 8 bytes; names that are valid UTF-8 and
// do not collide. metadata may be empty; its order is kept. The tensors of
// the result tell where the data goes. Errors name what cannot be written.
func Build(specs []Spec, metadata []Pair) (*Header, error) {
	sorted := slices.SortedStableFunc(slices.Values(specs), portableOrder)
	if err := checkWritable(sorted, metadata); err != nil {
		return nil, err
	}
	b := append(make([]byte, prefixLen), '{')
	if len(metadata) > 0 {
		b = append(appendMetadata(b, metadata), ',')
	}
	offset := int64(0)
	for _, s := range sorted {
		n, broken := byteLen(s.DType, s.Shape)
		if broken != nil {
			return nil, fmt.Errorf("tensor %q: %w", s.Name, broken)
		}
		if n > math.MaxInt64-offset {
			return nil, fmt.Errorf("tensor %q: file of more than 2^63 bytes", s.Name)
		}
		b = append(appendEntry(b, s, offset, offset+n), ',')
		offset += n
	}
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	return reparse(finishHeader(append(b, '}')), "new file")
}

// portableOrder is the order of the reference writer (safetensors' prepare).
func portableOrder(a, b Spec) int {
	if a.DType != b.DType {
		return int(b.DType) - int(a.DType)
	}
	return strings.Compare(a.Name, b.Name)
}

// checkWritable refuses what some reader would read differently.
func checkWritable(specs []Spec, metadata []Pair) error {
	keys := make(map[string]bool, len(metadata))
	for _, m := range metadata {
		switch {
		case !utf8.ValidString(m.Key) || !utf8.ValidString(m.Value):
			return fmt.Errorf("metadata %q is not valid UTF-8", m.Key)
		case keys[m.Key]:
			return fmt.Errorf("metadata %q occurs twice", m.Key)
		}
		keys[m.Key] = true
	}
	named := make([]Tensor, len(specs))
	for i, s := range specs {
		switch {
		case !utf8.ValidString(s.Name):
			return fmt.Errorf("tensor name %q is not valid UTF-8", s.Name)
		case s.Name == "" || s.Name == metadataKey:
			return fmt.Errorf("tensor name %q is reserved", s.Name)
		case slices.ContainsFunc(s.Shape, func(n int) bool { return n < 0 }):
			return fmt.Errorf("tensor %q: negative dimension in %v", s.Name, s.Shape)
		}
		named[i].Name = s.Name
	}
	if c := collisions(named, 1); len(c) > 0 {
		return fmt.Errorf("tensor names %q and %q are the same, or differ only in case or Unicode form", c[0][0], c[0][1])
	}
	return nil
}

func appendMetadata(b []byte, metadata []Pair) []byte {
	b = append(b, `"__metadata__":{`...)
	for i, m := range metadata {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strictjson.AppendString(b, m.Key), ':')
		b = strictjson.AppendString(b, m.Value)
	}
	return append(b, '}')
}

func appendEntry(b []byte, s Spec, begin, end int64) []byte {
	b = strictjson.AppendString(b, s.Name)
	b = append(b, `:{"dtype":"`...)
	b = append(b, s.DType.String()...)
	b = append(b, `","shape":[`...)
	for i, n := range s.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	b = append(b, `],"data_offsets":`...)
	return append(appendOffsets(b, begin, end), '}')
}

func appendOffsets(b []byte, begin, end int64) []byte {
	b = strconv.AppendInt(append(b, '['), begin, 10)
	b = strconv.AppendInt(append(b, ','), end, 10)
	return append(b, ']')
}

// finishHeader pads a header and fills in its length.
func finishHeader(b []byte) []byte {
	for len(b)%headerAlign != 0 {
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-prefixLen))
	return b
}

// reparse holds a header that we made against the rules for reading.
func reparse(raw []byte, file string) (*Header, error) {
	if n := len(raw) - prefixLen; n >= MaxHeader { // MLX refuses MaxHeader itself
		return nil, fmt.Errorf("header of %d bytes, at most %d can be read by all", n, MaxHeader-1)
	}
	h, err := parse(raw, -1, file, rule.Stop)
	if err != nil {
		return nil, fmt.Errorf("check the new header: %w", err)
	}
	return h, nil
}
