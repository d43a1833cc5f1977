// The beginning: who is logged in, then the page of the address.

import './app.js';
