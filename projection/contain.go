package projection

import "runtime/debug"

// contain turns a panic of the user's code into an error.
func contain(err *error) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r}
	}
}

// containStack is contain with the stack of the panic.
func containStack(err *error, stack *string) {
	if r := recover(); r != nil {
		*err = &PanicError{Value: r}
		*stack = string(debug.Stack())
	}
}
