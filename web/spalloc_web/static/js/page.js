// Pages that are not live but for the status line: times in the reader's own zone.

import { start } from "./start.js";
import { localTimes } from "./times.js";

localTimes(document);
start();
