// The surface of the brain round the spheres: glass that shows at its rim, and letters for the directions.
const VERTEX = `#version 300 es
in vec3 at, normal; uniform mat4 camera; uniform vec3 eye; out float rim;
void main() {
  gl_Position = camera * vec4(at, 1.0);
  rim = 1.0 - abs(dot(normalize(eye - at), normal));
}`;
const FRAGMENT = `#version 300 es
precision mediump float; in float rim; out vec4 paint;
void main() { paint = vec4(0.66, 0.76, 0.86, 0.04 + 0.42 * rim * rim * rim); }`;

export class Hull {
  // make: a function from two shaders to a program.
  constructor(gl, make) {
    this.gl = gl;
    this.program = make(gl, VERTEX, FRAGMENT);
    this.count = 0;
  }

  // values: counts of vertices and triangles, then both, as the service sends them.
  setData(values) {
    const gl = this.gl;
    const [vertices, triangles] = values;
    const end = 2 + 6 * vertices;
    this.vertices = fill(gl, gl.ARRAY_BUFFER, values.subarray(2, end));
    this.corners = fill(gl, gl.ELEMENT_ARRAY_BUFFER, Uint32Array.from(values.subarray(end, end + 3 * triangles)));
    this.count = 3 * triangles;
  }

  paint(matrix, eye) {
    if (!this.count) return;
    const gl = this.gl;
    gl.useProgram(this.program);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.vertices);
    ['at', 'normal'].forEach((name, n) => {
      const place = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 3, gl.FLOAT, false, 24, 12 * n);
    });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.corners);
    gl.uniformMatrix4fv(gl.getUniformLocation(this.program, 'camera'), false, matrix);
    gl.uniform3fv(gl.getUniformLocation(this.program, 'eye'), eye);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false); // what is glass hides nothing
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
    gl.depthMask(true);
    gl.disable(gl.BLEND);
  }
}

function fill(gl, kind, values) {
  const found = gl.createBuffer();
  gl.bindBuffer(kind, found);
  gl.bufferData(kind, values, gl.STATIC_DRAW);
  return found;
}

// Each direction at the middle of its face of the box: P, I and R name where the axes point.
export const lettersOf = box => ['AP', 'DV', 'LR'].flatMap((pair, axis) => [...pair].map((letter, end) => {
  const at = box.map(side => side / 2);
  at[axis] = box[axis] * (end ? 1.05 : -0.05);
  return { letter, at };
}));
