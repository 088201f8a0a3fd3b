#version 300 es
// One ray a pixel through the field: the march of `engine/src/march.h` and the composite of `composite.h`, restated.
// A line that begins with //: is replaced by the writer (`viewer/shader.py`): sizes, layers and their products.
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler3D;
//: constants
uniform sampler2D table;    // of the hash grid, bytes as [0, 1]: TEXELS texels a row
uniform usampler3D apart;   // cells to the nearest occupied one (Chebyshev); 0 = occupied
uniform float scale[LEVELS];
uniform ivec4 grid[LEVELS]; // first row, vertices a side, rows, whether hashed
uniform mat3 axes;          // of the camera: right, down, ahead
uniform vec3 eye;
uniform vec4 lens;          // focal length and principal point, pixels
uniform vec2 jitter;        // of the ray in its pixel
uniform float height;       // of the picture, pixels
uniform float background;   // grey
uniform vec2 range;         // nearest and farthest depth that is coloured
uniform vec3 low, high;     // of the crop box, scene units
uniform int shown;          // 0 colour, 1 depth, 2 normals, 3 distance as bits, 4 evaluations of the density
//: layers
out vec4 color;

vec4 fetch(int texel) { return texelFetch(table, ivec2(texel & (WIDE - 1), texel / WIDE), 0); }

// Rows of the eight corners round a place on the lattice: below and above along z.
void corners(ivec3 i, ivec4 level, out ivec4 below, out ivec4 above) {
    if (level.w > 0) {
        uvec2 x = uvec2(i.x, i.x + 1);
        uvec2 y = uvec2(i.y, i.y + 1) * 2654435761u;
        uvec2 z = uvec2(i.z, i.z + 1) * 805459861u;
        uvec4 across = uvec4(x.x ^ y.x, x.y ^ y.x, x.x ^ y.y, x.y ^ y.y);
        uint mask = uint(level.z - 1);
        below = ivec4((across ^ z.x) & mask);
        above = ivec4((across ^ z.y) & mask);
    } else {
        int n = level.y;
        int first = i.x + n * (i.y + n * i.z);
        ivec4 across = first + ivec4(0, 1, n, n + 1);
        below = across % level.z;
        above = (across + n * n) % level.z;
    }
    below = (below + level.x) * TEXELS;
    above = (above + level.x) * TEXELS;
}

vec4 blended(ivec4 below, ivec4 above, vec3 w, int part) {
    vec4 near = mix(mix(fetch(below.x + part), fetch(below.y + part), w.x),
                    mix(fetch(below.z + part), fetch(below.w + part), w.x), w.y);
    vec4 far = mix(mix(fetch(above.x + part), fetch(above.y + part), w.x),
                   mix(fetch(above.z + part), fetch(above.w + part), w.x), w.y);
    return mix(near, far, w.z);
}

//: networks

// Where a ray is marched from and to, and what of it depends on the ray alone.
float middle, reach;
vec2 interval(vec3 direction) {
    if (RADIUS > 0.0) {  // contracted: s with t = middle + reach sinh(s / RADIUS)
        vec3 off = eye - CENTER;
        middle = -dot(off, direction);
        float nearest = dot(off + middle * direction, off + middle * direction);
        reach = sqrt(RADIUS * RADIUS + nearest);
        float half_way = sqrt(max(0.0, FAR * FAR * RADIUS * RADIUS - nearest));
        return RADIUS * asinh(vec2(max(middle - half_way, NEAR) - middle, half_way) / reach);
    }
    vec3 a = (CORNER - eye) / direction;
    vec3 b = (CORNER + SIDE - eye) / direction;
    vec3 least = min(a, b), most = max(a, b);
    return vec2(max(0.0, max(least.x, max(least.y, least.z))), min(most.x, min(most.y, most.z)));
}

float distance_at(float s) { return RADIUS > 0.0 ? middle + reach * sinh(s / RADIUS) : s; }

vec3 unit_place(vec3 point) {
    if (RADIUS > 0.0) {
        vec3 off = point - CENTER;
        point = CENTER + off * (RADIUS / (RADIUS + length(off)));
    }
    return (point - CORNER) / SIDE;
}

// Near is warm and far is cold.
vec3 warm(float part) {
    float x = 1.0 - clamp(part, 0.0, 1.0);
    return clamp(1.5 - abs(4.0 * x - vec3(3.0, 2.0, 1.0)), 0.0, 1.0);
}

void main() {
    vec2 pixel = vec2(gl_FragCoord.x, height - gl_FragCoord.y) + jitter;
    vec3 direction = normalize(axes * vec3((pixel - lens.zw) / lens.xy, 1.0));
    vec2 span = interval(direction);
    int count = span.y > span.x ? int(floor((span.y - span.x) / STEP + 0.5)) : 0;

    vec3 rgb = vec3(0.0);
    float light = 1.0;      // left after all samples: it decides what counts and when a ray ends
    float kept = 1.0;       // left after those that count
    float heaviest = 0.0;
    float met = 0.0;        // distance at which a quarter of the light is gone; 0: it is not
    int evaluations = 0;
    harmonics(direction);
    for (int i = 0; i < count;) {
        float s = span.x + (float(i) + 0.5) * STEP;
        float t = distance_at(s);
        vec3 point = eye + t * direction;
        vec3 place = unit_place(point);
        ivec3 cell = clamp(ivec3(place * float(CELLS)), 0, CELLS - 1);
        int away = int(texelFetch(apart, cell, 0).r);
        if (away > 0) {
            if (RADIUS > 0.0) {  // places move at most as fast as s
                i += max(1, int(float(away - 1) * (SIDE / float(CELLS)) / STEP));
            } else {
                vec3 face = (vec3(cell) + mix(vec3(1 - away), vec3(away), step(0.0, direction))) / float(CELLS);
                vec3 exits = (CORNER + face * SIDE - eye) / direction;
                float leave = min(exits.x, min(exits.y, exits.z));
                i = max(i + 1, int(ceil((leave - span.x) / STEP - 0.5)));
            }
            continue;
        }
        ++i;
        if (any(lessThan(point, low)) || any(greaterThan(point, high))) continue;

        ++evaluations;
        float density = exp(min(log_density(clamp(place, 0.0, 1.0)), 15.0));
        float alpha = 1.0 - exp(-density * (STEP / SIDE));
        float weight = light * alpha;
        light -= weight;
        if (met == 0.0 && light < SURFACE) met = t;
        if (weight >= clamp(0.5 * heaviest, 1e-4, max(1e-4, LEAST_WEIGHT))) {
            heaviest = max(heaviest, weight);
            if (shown == 0) rgb += kept * alpha * radiance();
            kept *= 1.0 - alpha;
        }
        if (light < LEAST_LIGHT) break;
    }

    vec3 place = eye + met * direction;
    vec3 normal = cross(dFdx(place), dFdy(place));
    if (shown == 0) color = vec4(rgb + kept * background, 1.0);
    else if (shown == 1) color = vec4(met > 0.0 ? warm(log(met / range.x) / log(range.y / range.x)) : vec3(background), 1.0);
    else if (shown == 2) color = vec4(met > 0.0 ? 0.5 + 0.5 * faceforward(normalize(normal), direction, normal) : vec3(background), 1.0);
    else {
        uint bits = shown == 3 ? floatBitsToUint(met) : uint(evaluations);
        color = vec4(uvec4(bits, bits >> 8, bits >> 16, bits >> 24) & 255u) / 255.0;
    }
}
