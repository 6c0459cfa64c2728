package main

import (
	"fmt"
	"math"
	"reflect"
	"testing"
)

// The assertions of github.com/stretchr/testify/assert that McEval's and MdEval's tests use, for
// a sandbox without network: each fails the test and says what it compared.
type assertions struct{ t *testing.T }

var assert assertions

func (a assertions) New(t *testing.T) assertions { return assertions{t} }

// Called as a function of the package, the test comes first; as a method, it does not.
func (a assertions) split(arguments []interface{}) (*testing.T, []interface{}) {
	if len(arguments) > 0 {
		if t, ok := arguments[0].(*testing.T); ok {
			return t, arguments[1:]
		}
	}
	return a.t, arguments
}

func (a assertions) check(t *testing.T, right bool, words ...interface{}) bool {
	if !right {
		t.Error(words...)
	}
	return right
}

func (a assertions) Equal(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, reflect.DeepEqual(v[0], v[1]), "expected", v[0], "got", v[1])
}

func (a assertions) EqualValues(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	same := reflect.DeepEqual(v[0], v[1]) || fmt.Sprint(v[0]) == fmt.Sprint(v[1])
	return a.check(t, same, "expected", v[0], "got", v[1])
}

func (a assertions) NotEqual(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, !reflect.DeepEqual(v[0], v[1]), "both are", v[0])
}

func (a assertions) True(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, v[0] == true, "expected true")
}

func (a assertions) False(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, v[0] == false, "expected false")
}

func (a assertions) Nil(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, isNil(v[0]), "expected nil, got", v[0])
}

func (a assertions) NotNil(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, !isNil(v[0]), "expected no nil")
}

func (a assertions) NoError(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, isNil(v[0]), "error", v[0])
}

func (a assertions) Error(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, !isNil(v[0]), "expected an error")
}

func (a assertions) Empty(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, isNil(v[0]) || reflect.ValueOf(v[0]).Len() == 0, "expected nothing, got", v[0])
}

func (a assertions) Len(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	return a.check(t, reflect.ValueOf(v[0]).Len() == v[1].(int), "length", v[0], "expected", v[1])
}

func (a assertions) InDelta(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	difference := math.Abs(number(v[0]) - number(v[1]))
	return a.check(t, difference <= number(v[2]), "expected", v[0], "got", v[1])
}

func (a assertions) InEpsilon(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	difference := math.Abs(number(v[0])-number(v[1])) / math.Abs(number(v[0]))
	return a.check(t, difference <= number(v[2]), "expected", v[0], "got", v[1])
}

func (a assertions) ElementsMatch(arguments ...interface{}) bool {
	t, v := a.split(arguments)
	counts := map[string]int{}
	for sign, list := range map[int]interface{}{1: v[0], -1: v[1]} {
		if isNil(list) {
			continue
		}
		value := reflect.ValueOf(list)
		for i := 0; i < value.Len(); i++ {
			counts[fmt.Sprintf("%#v", value.Index(i).Interface())] += sign
		}
	}
	same := true
	for _, count := range counts {
		same = same && count == 0
	}
	return a.check(t, same, "expected", v[0], "got", v[1])
}

func isNil(value interface{}) bool {
	if value == nil {
		return true
	}
	switch reflect.ValueOf(value).Kind() {
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Ptr, reflect.Slice:
		return reflect.ValueOf(value).IsNil()
	}
	return false
}

func number(value interface{}) float64 {
	v := reflect.ValueOf(value)
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	}
	return v.Float()
}
