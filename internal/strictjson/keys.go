package strictjson

import (
	"fmt"
	"strings"
)

// MaxKeys is how many keys of one object are compared with each other.
const MaxKeys = 1 << 20

// Keys is the set of keys of one object. The zero value is empty.
type Keys struct {
	few  []string
	many map[string]struct{}
}

// Add returns a Duplicate error if key, found at offset at, was added before,
// and a Size error if there are too many.
func (k *Keys) Add(key string, at int) error {
	dup := false
	if len(k.many) >= MaxKeys {
		return &Error{Size, at, fmt.Sprintf("more than %d keys in one object", MaxKeys)}
	}
	if k.many != nil {
		n := len(k.many)
		k.many[key] = struct{}{}
		dup = len(k.many) == n
	} else {
		for _, f := range k.few {
			dup = dup || f == key
		}
		k.few = append(k.few, key)
	}
	if dup {
		return &Error{Duplicate, at, fmt.Sprintf("key %s occurs twice", quote(key))}
	}
	if k.many == nil && len(k.few) == 16 { // a map pays beyond this
		k.many = make(map[string]struct{}, 64)
		for _, f := range k.few {
			k.many[f] = struct{}{}
		}
		k.few = nil
	}
	return nil
}

// quote quotes text from a file for a message, cut to a length that one can read.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		return fmt.Sprintf("%+q…", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%+q", s)
}
