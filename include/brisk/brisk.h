// The whole of brisk in one include.
#pragma once

#include "brisk/create.h"
#include "brisk/functional.h"
#include "brisk/tensor.h"
