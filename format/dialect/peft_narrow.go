package dialect

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/loratool/loratool/internal/strictjson"
)

// taskTypes are those of PEFT 0.21, which refuses others.
var taskTypes = []string{"SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"}

func readTask(_ *peftConfig, v strictjson.Value) error {
	if v.Kind != strictjson.String || !slices.Contains(taskTypes, v.Text) {
		return fmt.Errorf("found %s, expected one of %s", v.Append(nil), strings.Join(taskTypes, ", "))
	}
	return nil
}

// readDropout reads a probability.
func readDropout(_ *peftConfig, v strictjson.Value) error {
	if p, err := number(v); err != nil || p < 0 || p > 1 {
		return fmt.Errorf("found %s, expected a number from 0 to 1", v.Append(nil))
	}
	return nil
}

// readObject reads a field of which PEFT makes a config of its own.
func readObject(_ *peftConfig, v strictjson.Value) error {
	if v.Kind != strictjson.Object {
		return fmt.Errorf("found %s, expected an object", v.Kind)
	}
	return nil
}

// A narrowing is what exclude_modules, layers_to_transform and layers_pattern
// take from target_modules (check_target_module_exists in
// src/peft/tuners/tuners_utils.py).
type narrowing struct {
	excluded func(path string) bool
	layers   []int
	limited  bool             // to layers
	number   []*regexp.Regexp // finds the number of a layer in a path
}

// firstNumber finds the number of a layer where layers_pattern says nothing.
var firstNumber = regexp.MustCompile(`^.*?\.[^.]*\.(\d+)\.`)

func readExcluded(c *peftConfig, v strictjson.Value) error {
	if v.Kind == strictjson.String {
		if re, err := compilePython(v.Text); err == nil { // else a pattern of Python's
			c.narrow.excluded = re.MatchString
		}
		return nil
	}
	var names []string
	if err := list(func(*peftConfig) *[]string { return &names })(c, v); err != nil {
		return err
	}
	c.narrow.excluded = func(path string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return path == n || strings.HasSuffix(path, "."+n) })
	}
	return nil
}

func readLayers(c *peftConfig, v strictjson.Value) error {
	elements := []strictjson.Value{v}
	if v.Kind == strictjson.Array {
		elements = v.Elements
	}
	for _, e := range elements {
		n, err := integer(e)
		if err != nil {
			return err
		}
		c.narrow.layers = append(c.narrow.layers, n)
	}
	c.narrow.limited = len(elements) > 0
	return nil
}

func readLayersPattern(c *peftConfig, v strictjson.Value) error {
	names := []string{v.Text}
	if v.Kind != strictjson.String {
		names = nil
		if err := list(func(*peftConfig) *[]string { return &names })(c, v); err != nil {
			return err
		}
	}
	for _, n := range names {
		if n == "" {
			continue
		}
		re2, err := fromPython(n)
		if err != nil {
			return nil // a pattern of Python's: no layer is judged
		}
		re, err := regexp.Compile(`^.*?\.` + re2 + `\.(\d+)\.`)
		if err != nil {
			return nil // a pattern of Python's: no layer is judged
		}
		c.narrow.number = append(c.narrow.number, re)
	}
	return nil
}

// drops says why a module that target_modules names is not adapted, or "".
// Exact tells that it is named in full, which layers_to_transform leaves alone.
func (n *narrowing) drops(path string, exact bool) string {
	if n.excluded != nil && n.excluded(path) {
		return "exclude_modules names it"
	}
	if !n.limited || exact {
		return ""
	}
	numbers := n.number
	if len(numbers) == 0 {
		numbers = []*regexp.Regexp{firstNumber}
	}
	for _, re := range numbers {
		m := re.FindStringSubmatch(path)
		if m == nil {
			continue
		}
		if layer, err := strconv.Atoi(m[1]); err == nil && slices.Contains(n.layers, layer) {
			return ""
		}
		break
	}
	return "its layer is not among layers_to_transform"
}
