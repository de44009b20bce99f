// Element types, under the name by which src/ includes them; the public header is the one list.
#pragma once

#include "brisk/dtype.h"
